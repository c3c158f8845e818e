"""The ports of the verbs over tables, one module per port."""
