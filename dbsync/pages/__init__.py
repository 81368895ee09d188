"""What all pages of this program share: how they are rendered, what every browser is told with them, how they look."""
