"""The papers' printed numbers and claims, and the arithmetic that checks them."""
