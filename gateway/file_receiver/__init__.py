"""Takes the instruments' files: resumable, verified, synced before it says so."""
