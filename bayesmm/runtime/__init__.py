"""What the machine gives: threads of the linear algebra."""
