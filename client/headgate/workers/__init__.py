"""Workers: jobs of subscriptions, that are claimed by one worker or sent to a webhook."""

from headgate.workers.job import Job, JobStream
from headgate.workers.worker import Worker

__all__ = ["Job", "JobStream", "Worker"]
