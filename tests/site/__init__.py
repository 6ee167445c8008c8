"""What `tests/test_book.py` needs to read the built site in a browser."""
