"""What is released: its version, its parts, the wheel, and what older releases have written."""
