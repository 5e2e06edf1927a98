//! A bare server of the same HTTP stack: reads the body, answers `{}`. The yardstick of every other figure. With a number as
//! its argument it answers so many bytes, as a read does.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

async fn answer(request: Request<Incoming>, body: Bytes) -> Result<Response<Full<Bytes>>, hyper::Error> {
    request.into_body().collect().await?;
    let response = Response::builder().header("content-type", "application/x-amz-json-1.0");
    Ok(response.body(Full::new(body)).expect("the parts are valid"))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bytes = std::env::args().nth(1).map_or(Ok(2), |bytes| bytes.parse())?;
    let body = Bytes::from(format!("{:bytes$}", "{}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        println!("dynamodb  http://{}", listener.local_addr()?);
        println!("try: nothing");
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let body = body.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(request, body.clone()));
                let builder = auto::Builder::new(TokioExecutor::new());
                // A client that hangs up ends its connection, nothing else.
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                Ok::<(), Infallible>(())
            });
        }
    })
}
