# The C types of binjson.py, which runs without them as well.
cimport cython

cdef int _DEEPEST, _DECIMAL, _DATE, _TIME, _DATETIME, _TIMESTAMP

@cython.locals(data=bytes, out=bytearray, at="Py_ssize_t", first="Py_ssize_t", end="Py_ssize_t",
               document=_Document)
cpdef texts(offsets, payload)

cdef class _Document:
    cdef bytes data
    cdef bytearray out
    cdef Py_ssize_t end

    cdef int value(self, int kind, Py_ssize_t at, int depth) except -1

    @cython.locals(size="Py_ssize_t", signed=bint)
    cdef int _integer(self, int kind, Py_ssize_t at) except -1

    @cython.locals(wide=int, named=bint, count="Py_ssize_t", size="Py_ssize_t", entry="Py_ssize_t",
                   entries="Py_ssize_t", values="Py_ssize_t", index="Py_ssize_t", place="Py_ssize_t",
                   start="Py_ssize_t", length="Py_ssize_t")
    cdef int _container(self, int kind, Py_ssize_t at, int depth) except -1

    @cython.locals(kind=int, kept="Py_ssize_t", start="Py_ssize_t")
    cdef int _member(self, Py_ssize_t place, int wide, Py_ssize_t base, int depth) except -1

    @cython.locals(kind=int, size="Py_ssize_t")
    cdef int _opaque(self, Py_ssize_t at) except -1

    cdef Py_ssize_t _number(self, Py_ssize_t at, Py_ssize_t size) except -1

    @cython.locals(size="Py_ssize_t", shift=int, byte="Py_ssize_t")
    cdef tuple _length(self, Py_ssize_t at)

    cdef int _within(self, Py_ssize_t at, Py_ssize_t size) except -1

@cython.locals(start="Py_ssize_t", end="Py_ssize_t", byte=int)
cdef int _quote(bytes data, Py_ssize_t at, Py_ssize_t size, bytearray out) except -1

cdef bytes _double(double value)

cdef bytes _number_of(bytes data, Py_ssize_t at, Py_ssize_t size)
