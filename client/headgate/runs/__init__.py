"""Runs: answers of models that go on when nobody reads, can be resumed and stopped, and always end.

runs = Runs("http://127.0.0.1:4437/v1/stream/runs")
answer = await runs.start(id, produce(question), format="ai-sdk")
"""

from headgate.records import RunState
from headgate.runs.answer import Answer
from headgate.runs.runs import Runs
from headgate.runs.stored.progress import Step, Written

__all__ = ["Answer", "RunState", "Runs", "Step", "Written"]
