"""What every public function asks of its arguments: plain values here, the names of files in a module of their own."""
