"""Compare source and upstream by natural key: for people who want to know, it changes nothing on either side."""
