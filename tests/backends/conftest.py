"""The contract is no test module by name, and yet its assertions should explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.backends.contract")
