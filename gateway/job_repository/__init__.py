"""The job repository: the only writer of jobs."""
