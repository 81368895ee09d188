"""The middleman: a laptop without a copy of the application that carries sealed bundles on, and receipts back."""
