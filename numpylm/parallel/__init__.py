"""Several processes at one work; each file is one idea, and none knows a model.

workers          other processes that call a function whenever they are asked to
shared_memory    arrays that a process and its copies see alike
blas_threads     one thread in BLAS, because the processes are the parallelism
allocator        freed memory that malloc keeps instead of returning it
libc             the C library that allocator and workers ask
"""

from numpylm.parallel.allocator import keep_freed_pages
from numpylm.parallel.blas_threads import one_blas_thread
from numpylm.parallel.shared_memory import shared, shared_zeros

__all__ = ["keep_freed_pages", "one_blas_thread", "shared", "shared_zeros"]
