"""Live models: the pool file, and calls that are bounded in time, number and money."""

from racer.pool.cache import Cache
from racer.pool.failures import CallFailed
from racer.pool.file import NOT_OF_CLIENTS, Endpoint, read
from racer.pool.ledger import Bill, Ledger
from racer.pool.member import Member, Reply
from racer.pool.pool import Pool

__all__ = ["NOT_OF_CLIENTS", "Bill", "Cache", "CallFailed", "Endpoint", "Ledger", "Member", "Pool", "Reply", "read"]
