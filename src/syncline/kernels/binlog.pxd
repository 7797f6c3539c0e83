# The C types of binlog.py, which runs without them as well.
cimport cython

cdef bint _COMPILED
cdef int _NULL, _UNSENT
cdef int _SIGNED, _BITS, _YEAR, _DECIMAL, _DATE, _DATETIME, _TIMESTAMP
cdef Py_ssize_t _MOST_BYTES
cdef unsigned long long _ONES

cdef class Layout:
    cdef readonly Py_ssize_t width, bitmap
    cdef readonly tuple cells
    cdef int[::1] lengths, starts, sizes

    @cython.locals(rows="Py_ssize_t", end="Py_ssize_t", at="Py_ssize_t", first="Py_ssize_t",
                   second="Py_ssize_t", update=bint, before="Py_ssize_t", after="Py_ssize_t")
    cpdef count(self, int kind, bytes body)

    @cython.locals(extra="Py_ssize_t", width="Py_ssize_t")
    cpdef Py_ssize_t rows_at(self, int kind, bytes data, Py_ssize_t at) except -1

    @cython.locals(count="Py_ssize_t", column="Py_ssize_t")
    cdef Py_ssize_t present(self, bytes data, Py_ssize_t at) except -1

    @cython.locals(nulls="Py_ssize_t", bit="Py_ssize_t", column="Py_ssize_t", size="long long",
                   prefix="Py_ssize_t")
    cdef Py_ssize_t read(self, bytes data, Py_ssize_t at, Py_ssize_t end, Py_ssize_t bits,
                         Py_ssize_t held, int[::1] starts, int[::1] sizes, Py_ssize_t to,
Py_ssize_t step) except -1

cdef class Decoded:
    cdef readonly Layout layout
    cdef readonly Py_ssize_t count, width
    cdef readonly bytearray changes
    cdef readonly bint unsent, keyed
    cdef bytes data
    cdef int[::1] key, starts, sizes, old_starts, old_sizes

    @cython.locals(first="Py_ssize_t", validity=bytearray, unsent=bytearray, nulls="Py_ssize_t",
                   holes="Py_ssize_t", row="Py_ssize_t", size=int)
    cpdef column(self, Py_ssize_t place)

    @cython.locals(data=bytes, rows="Py_ssize_t", first="Py_ssize_t", second="Py_ssize_t",
                   before="Py_ssize_t", after="Py_ssize_t")
    cdef Py_ssize_t _read(self, int kind, Py_ssize_t at, Py_ssize_t end, Py_ssize_t row) except -1

    @cython.locals(column="Py_ssize_t", place="Py_ssize_t")
    cdef int _settle_delete(self, Py_ssize_t row) except -1

    @cython.locals(holes=bint, changed=bint, column="Py_ssize_t", place="Py_ssize_t", to="Py_ssize_t")
    cdef int _settle_row(self, Py_ssize_t row, bint old) except -1

    @cython.locals(to="Py_ssize_t")
    cdef int _keep_old(self, Py_ssize_t place, Py_ssize_t row) except -1

    @cython.locals(size=int, before="Py_ssize_t", after="Py_ssize_t", i="Py_ssize_t")
    cdef int _is_same(self, Py_ssize_t column, Py_ssize_t row) except -1

    @cython.locals(offsets="int[::1]", payload=bytearray, total="Py_ssize_t", row="Py_ssize_t", size=int)
    cdef tuple _bytes(self, Py_ssize_t first)

    @cython.locals(payload=bytearray, row="Py_ssize_t")
    cdef _copied(self, Py_ssize_t first, Py_ssize_t size)

    @cython.locals(numbers="unsigned long long[::1]", row="Py_ssize_t", size=int, start="Py_ssize_t",
                   number="unsigned long long")
    cdef _numbers(self, Py_ssize_t first, int form)

    @cython.locals(offsets="int[::1]", payload=bytearray, to="Py_ssize_t", row="Py_ssize_t", at="Py_ssize_t",
                   number="Py_ssize_t")
    cdef tuple _texts(self, Py_ssize_t first, int form, int precision, int scale)

@cython.locals(value="unsigned long long", byte="unsigned long long", i="Py_ssize_t")
cdef unsigned long long _little(bytes data, Py_ssize_t at, Py_ssize_t size) except? 0xFFFFFFFFFFFFFFFF

@cython.locals(value="unsigned long long", i="Py_ssize_t")
cdef unsigned long long _big(bytes data, Py_ssize_t at, Py_ssize_t size) except? 0xFFFFFFFFFFFFFFFF

@cython.locals(i="Py_ssize_t")
cdef int _copy(bytes data, Py_ssize_t start, Py_ssize_t size, bytearray payload, Py_ssize_t to) except -1

@cython.locals(i="Py_ssize_t")
cdef Py_ssize_t _digits(bytearray payload, Py_ssize_t to, unsigned long long value, Py_ssize_t size) except -1

cdef Py_ssize_t _fraction(bytearray payload, Py_ssize_t to, unsigned long long micros) except -1

cdef unsigned long long _micros(unsigned long long value, int size) except? 0xFFFFFFFFFFFFFFFF

cdef Py_ssize_t _date(bytearray payload, Py_ssize_t to, unsigned long long year, unsigned long long month,
                      unsigned long long day) except -1

cdef Py_ssize_t _clock(bytearray payload, Py_ssize_t to, unsigned long long minutes,
                       unsigned long long seconds) except -1

@cython.locals(size=int, value="unsigned long long", months="unsigned long long", hours="unsigned long long")
cdef Py_ssize_t _datetime(bytes data, Py_ssize_t at, int digits, bytearray payload, Py_ssize_t to) except -1

@cython.locals(size=int, seconds="unsigned long long", micros="unsigned long long", days="unsigned long long",
               day="unsigned long long", year="unsigned long long", month="unsigned long long")
cdef Py_ssize_t _timestamp(bytes data, Py_ssize_t at, int digits, bytearray payload, Py_ssize_t to) except -1

@cython.locals(size=int, value="unsigned long long", middle="unsigned long long",
               micros="unsigned long long", hours="unsigned long long")
cdef Py_ssize_t _time(bytes data, Py_ssize_t at, int digits, bytearray payload, Py_ssize_t to) except -1

@cython.locals(negative=bint, whole=int, first=bint, begun=bint, digits=int, value="unsigned long long")
cdef Py_ssize_t _decimal(bytes data, Py_ssize_t at, int precision, int scale, bytearray payload,
                         Py_ssize_t to) except -1

@cython.locals(value="unsigned long long", bits="unsigned long long")
cdef unsigned long long _group(bytes data, Py_ssize_t at, int size, bint negative,
                               bint first) except? 0xFFFFFFFFFFFFFFFF
