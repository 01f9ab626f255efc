"""Settings of gateways that have all parts, or only some."""

from __future__ import annotations

from headgate_gateway.settings import PurgedCache, Route, Settings

EVERYTHING = Settings(
    workers=1,
    routes=(
        Route(prefix="/files", storage="file:./streams", max_storage_size=1 << 30),
        Route(prefix="/redis", storage="redis://127.0.0.1", wait_replicas=2),
        Route(prefix="/redis/one", storage="redis://127.0.0.1/1", wait_replicas=1),
        Route(prefix="/origin", origin="http://127.0.0.1:1"),
    ),
    purges=(PurgedCache(kind="varnish", url="http://127.0.0.1:2"),),
    credentials={"tokens_file": "tokens.toml"},
    tls={"certificate": "fullchain.pem", "key": "privkey.pem"},
)
MEMORY = Settings(storage="memory:")
FILES = Settings(storage="file:./streams")
REDIS = Settings(storage="redis://127.0.0.1")
ORIGIN = Settings(origin="http://127.0.0.1:1")
WORKERS = Settings(origin="http://127.0.0.1:1", workers=2)
