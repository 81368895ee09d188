"""What others reach over HTTPS: nodes bring batches here."""
