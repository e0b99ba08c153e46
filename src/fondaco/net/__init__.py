"""Foreign URLs, fetched so that nothing but public places is ever connected to."""
