"""What the doctor looks at: a function for each check, from a `Machine` to a `Finding`."""
