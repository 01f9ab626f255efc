"""The contract, run against every log there is."""

from tests.logs.contract import *  # noqa: F403 - the tests are meant to be found here
