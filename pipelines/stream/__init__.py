"""The hot path: small images that come as a stream, corrected, batched, inferred and answered in memory."""
