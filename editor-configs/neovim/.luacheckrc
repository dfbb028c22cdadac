std = 'luajit'
read_globals = {
  vim = {
    other_fields = true,
    fields = {
      g = { other_fields = true, read_only = false },
      b = { other_fields = true, read_only = false },
      o = { other_fields = true, read_only = false },
    },
  },
}
max_line_length = 120
