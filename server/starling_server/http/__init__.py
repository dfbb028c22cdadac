"""The service's HTTP face: one module for each shape of request, and what stands around all of them."""
