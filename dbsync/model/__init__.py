"""The words of dbsync as frozen values. No I/O: nothing here knows a socket, a file or a clock."""
