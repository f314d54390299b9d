"""Results as each schema wrote them."""
