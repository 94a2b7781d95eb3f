"""Caption many images: list them, caption each, write the outputs, and report what happens as events."""
