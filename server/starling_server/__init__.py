"""The completion engine and its HTTP face."""

import logging

__version__ = "0.1.0"
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
# At import, by us or by peft, it would suggest a package that downloads code.
