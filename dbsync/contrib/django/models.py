"""None: but without this module Django sends the app no ``post_migrate``."""
