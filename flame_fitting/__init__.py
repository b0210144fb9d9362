"""Images and a surface go in; head parameters with their landmarks, losses and stages come out."""
