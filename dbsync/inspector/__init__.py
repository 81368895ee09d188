"""Looking through what is pending, and comparing it with what is in the box: on a node, and on a relay that is trusted."""
