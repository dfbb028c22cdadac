---Brings a language server back that ended by itself, with pauses that grow while it keeps ending.
local M = {}

local FIRST, LONGEST = 1000, 30000
---A server that lived this long, in milliseconds, was not ended by what it meets at once.
local STEADY = 60000

local wait = FIRST
local started = 0

---Notes that a server starts.
function M.on_init()
  started = vim.uv.now()
end

---@param code integer
---@param signal integer
function M.on_exit(code, signal)
  if (code == 0 and signal == 0) or vim.v.exiting ~= vim.NIL or not vim.lsp.is_enabled('starling') then
    return
  end
  wait = vim.uv.now() - started > STEADY and FIRST or wait
  vim.schedule(function()
    local message = 'The language server ended; it is started again in %d s.'
    require('starling.status').note('error', message:format(math.floor(wait / 1000)))
    vim.defer_fn(function()
      if vim.lsp.is_enabled('starling') then -- the user may have turned it off meanwhile
        vim.lsp.enable('starling')
      end
    end, wait)
    wait = math.min(2 * wait, LONGEST)
  end)
end

return M
