"""Who a node is: its key pairs, what it signs and opens with them, and whom an upstream knows."""
