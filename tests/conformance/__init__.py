"""What every route does, whatever it is made of."""
