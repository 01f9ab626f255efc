"""Workers: jobs of subscriptions, that are claimed by one worker or sent to a webhook.

async with Worker("http://127.0.0.1:4437/v1/stream", "pool") as worker:
    async for job in worker: ...
"""

from headgate.workers.job import Job
from headgate.workers.job_stream import JobStream
from headgate.workers.webhook_receiver import WebhookReceiver
from headgate.workers.worker import Worker

__all__ = ["Job", "JobStream", "WebhookReceiver", "Worker"]
