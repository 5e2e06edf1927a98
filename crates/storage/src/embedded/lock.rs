//! The lock file that keeps a second process out.

use std::time::Duration;

use headwater_types::Runtime;

use super::Settings;
use crate::error::{Error, Kind};
use crate::files::Lock;

/// A process that is just ending gets this long to let go.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// Makes the directory if need be and locks it. Errors: `Unavailable`, naming the directory, when someone else has it.
pub(super) async fn take(settings: &Settings, runtime: &Runtime) -> Result<Box<dyn Lock>, Error> {
    let (files, directory) = (&settings.files, &settings.directory);
    let failed =
        |error| Error::new(Kind::Unavailable, format!("{}: cannot be used", directory.display())).because(error);
    files.create_dir(directory).map_err(failed)?;
    let start = runtime.monotonic();
    loop {
        if let Some(lock) = files.lock(&directory.join("LOCK")).map_err(failed)? {
            return Ok(lock);
        }
        if runtime.monotonic() >= start + PATIENCE {
            let what = format!("{}: another process has this data directory open", directory.display());
            return Err(Error::new(Kind::Unavailable, what));
        }
        runtime.sleep(PAUSE).await;
    }
}
