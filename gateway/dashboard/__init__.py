"""The web page that a lab keeps open: it talks to the public API only, as whoever is signed in."""
