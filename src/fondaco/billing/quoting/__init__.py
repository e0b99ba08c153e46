"""What a request would cost, told before it is made, by the functions that bill it."""
