# The C types of fold.py, which runs without them as well.
cimport cython

cdef int _NONE

@cython.locals(changes="Py_ssize_t", index="Py_ssize_t", state=Keys)
cpdef follow(bytes kinds, const int[::1] origins, const int[::1] keys, Py_ssize_t count, bytes masks)

cdef class Keys:
    cdef readonly Py_ssize_t count, width
    cdef int[::1] last, entered, gone, left, cells
    cdef bytearray moved

    cdef int remove(self, Py_ssize_t key, int index) except -1

    @cython.locals(known=bint, moved=bint, column="Py_ssize_t", cell=int)
    cdef int write(self, Py_ssize_t origin, Py_ssize_t key, int index, bytes masks, Py_ssize_t changes) except -1

    @cython.locals(index=int, key="Py_ssize_t")
    cdef survivors(self, const int[::1] origins, const int[::1] keys, Py_ssize_t changes)

    @cython.locals(column="Py_ssize_t")
    cdef int _has_hole(self, Py_ssize_t key) except -1

    @cython.locals(column="Py_ssize_t", place="Py_ssize_t", key="Py_ssize_t")
    cdef int _gather(self, const int[::1] survivors, int[::1] cells) except -1
