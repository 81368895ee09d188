"""What can be told before anything is started: findings as data, each with a remedy. Nothing is changed."""
