"What never ends, in a module that another process loads at once."
import time


def forever(*_): time.sleep(3600)
