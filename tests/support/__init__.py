"""What tests share: servers, databases, the clinic."""
