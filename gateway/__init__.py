"""The compute side: receive, remember, launch, send back."""
