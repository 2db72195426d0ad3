"""Submission: people's files arrive at the gateway itself, each becomes a job of a batch; archives are unpacked."""
