"""What a batch, a loss, a reward and a score are: a task a file."""
