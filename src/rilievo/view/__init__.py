"""The viewer's server side: houses and files to a scene that a browser draws, measures in it, saves and shares it."""
