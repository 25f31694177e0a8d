"""Made-up kinds of texts whose costs change on the way, and what policies make of them."""
