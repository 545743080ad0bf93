"""The synchronized page: plain scripts and styles, and `page`, which says what they are."""
