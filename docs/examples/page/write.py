"""Appends each note that you type to the stream that index.html shows: `python page/write.py`."""

import headgate.sync

with headgate.sync.Client("http://127.0.0.1:4437/v1/stream") as hg:
    notes = hg.create("notes", json=True)
    while note := input("A note, or nothing to end: "):
        notes.append({"text": note})
