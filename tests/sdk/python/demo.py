"""`cargo xtask demo`: the main job in a minute, for a person to watch."""

import tempfile

from headwater import Server
from real_data import DATA_SETS, Run


def main():
    with tempfile.TemporaryDirectory(prefix="headwater-demo-") as directory:
        server = Server(data_dir=directory)
        print(f"server on {server.endpoint}, data on disk")
        for name in DATA_SETS:
            run = Run(server, name)
            run.start()
            killed = False
            while run.running():
                if not killed and run.writes() > 200:
                    print(f"{name}: killing the server (SIGKILL) in the middle of {run.writes()} writes …", flush=True)
                    server.restart()
                    killed = True
                run.writers[0].join(0.01)
            counted = run.finish()
            print(
                f"{name}: {counted['writes']} writes → {counted['records']} records in {counted['shards']} shards, each once "
                f"and in order per item; rebuilt from the stream alone: {counted['items']} items = Scan", flush=True,
            )  # fmt: skip
        server.stop()
    print("done: nothing lost, nothing twice, nothing out of order")


if __name__ == "__main__":
    main()
