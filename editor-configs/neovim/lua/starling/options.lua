---The options in vim.g.starling, and the command line made of them.
local M = {}

---@class starling.Options
---@field base? string Hub id or directory of the base model, or "tiny"; the server's choice by default
---@field adapter? string name or directory of the adapter; for each folder its own by default
---@field server? string|false 'auto', the default: one server for all your editors, started when needed; an
---address: a running serve-copilot; false: this language server loads the model
---@field cmd? string[] program and first arguments; { 'starling-lsp' } by default
---@field enable? table<string, boolean> filetypes with suggestions, such as { ['*'] = true, markdown = false }
---@field trigger_mode? 'auto'|'manual' manual: only on <Plug>(starling-trigger)
---@field init_options? table<string, any> further options of the language server, by their own names

---Options that become command-line flags, in this order.
local FLAGS = { 'base', 'adapter', 'server' }
local KNOWN = { 'cmd', 'enable', 'trigger_mode', 'init_options', unpack(FLAGS) }

---@param options starling.Options
local function validate(options)
  vim.validate('starling', options, 'table')
  vim.validate('starling.cmd', options.cmd, vim.islist, true, 'a list of strings')
  vim.validate('starling.enable', options.enable, 'table', true)
  vim.validate('starling.trigger_mode', options.trigger_mode, function(mode)
    return mode == nil or mode == 'auto' or mode == 'manual'
  end, "'auto' or 'manual'")
  vim.validate('starling.init_options', options.init_options, 'table', true)
  vim.validate('starling.base', options.base, 'string', true)
  vim.validate('starling.adapter', options.adapter, 'string', true)
  vim.validate('starling.server', options.server, function(server)
    return not server or type(server) == 'string'
  end, "'auto', an address or false")
  for name in pairs(options) do
    if not vim.list_contains(KNOWN, name) then
      error(('starling: unknown option %q; known are %s'):format(name, table.concat(KNOWN, ', ')), 0)
    end
  end
end

---@return starling.Options
function M.get()
  local options = vim.tbl_extend('keep', vim.g.starling or {}, { server = 'auto' })
  validate(options)
  return options
end

---Merges `options` into vim.g.starling.
---@param options? starling.Options
function M.set(options)
  local merged = vim.tbl_extend('force', vim.g.starling or {}, options or {})
  validate(merged)
  vim.g.starling = merged
end

---@return string[] command line of the language server
function M.command()
  local options = M.get()
  local command = vim.list_extend({}, options.cmd or { 'starling-lsp' })
  for _, name in ipairs(FLAGS) do
    if options[name] then
      vim.list_extend(command, { '--' .. name, options[name] })
    end
  end
  return command
end

---@return table<string, any>? options of the language server
function M.init_options()
  local options = M.get()
  local own = { enable = options.enable, triggerMode = options.trigger_mode }
  local all = vim.tbl_extend('force', own, options.init_options or {})
  return next(all) and all or nil
end

return M
