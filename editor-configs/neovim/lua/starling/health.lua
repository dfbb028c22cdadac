---`:checkhealth starling`
local M = {}

local health = vim.health

---What the language server answers to `starling/health`.
---@class starling.Health
---@field version string
---@field device string
---@field base? string
---@field adapter? string
---@field answers integer
---@field remembered integer answers that needed no model
---@field last_ms? number how long the newest answer of the model took

local function check_neovim()
  if vim.fn.has('nvim-0.12') == 1 then
    health.ok('Neovim ' .. tostring(vim.version()))
  else
    health.error('Neovim is older than 0.12', 'Install Neovim 0.12 or later.')
  end
end

local function check_command()
  local command = require('starling.options').command()
  if vim.fn.executable(command[1]) == 0 then
    health.error(
      ('%s is not there or not executable'):format(command[1]),
      "Install it (pip install 'starling[server]'), or name it in vim.g.starling = { cmd = { … } }."
    )
    return
  end
  health.ok('Starts ' .. table.concat(command, ' '))
end

---@param client vim.lsp.Client
---@return starling.Health?
local function ask(client)
  local answer = client:request_sync('starling/health', {}, 3000)
  return answer and answer.result
end

---@param client vim.lsp.Client
local function check_status(client)
  local buf = next(client.attached_buffers)
  local status = require('starling.status').get(buf)
  local kind, message = status and status.kind or 'loading', status and status.message or ''
  local line = ('Language server: %s %s'):format(kind, message)
  if kind == 'error' then
    health.error(line, 'See :StarlingLog.')
  elseif kind == 'loading' then
    health.info(line)
  else
    health.ok(line)
  end
end

---@param client vim.lsp.Client
local function check_client(client)
  check_status(client)
  local told = ask(client)
  if not told then
    health.warn('The language server did not say how it is within 3 s', 'See :StarlingLog.')
  else
    health.ok(
      ('starling-lsp %s, base %s, adapter %s, on %s'):format(
        told.version,
        type(told.base) == 'string' and told.base or 'not loaded',
        type(told.adapter) == 'string' and told.adapter or 'none',
        told.device
      )
    )
    local last = type(told.last_ms) == 'number' and ('%.0f ms'):format(told.last_ms) or 'none yet'
    health.info(
      ('Answers: %d, of these %d from memory; newest of the model: %s'):format(told.answers, told.remembered, last)
    )
  end
  health.info('Positions are counted in ' .. client.offset_encoding)
end

---@param client vim.lsp.Client
local function check_buffers(client)
  for buf in pairs(client.attached_buffers) do
    local name = vim.fn.fnamemodify(vim.api.nvim_buf_get_name(buf), ':~:.')
    if not require('starling.switch').is_on(buf) then
      health.warn('Suggestions are off in ' .. name, ':StarlingToggle turns them on.')
    elseif require('starling.view').completor(buf) then
      health.ok('Inline completion is on in ' .. name)
    else
      health.error('Inline completion is off in ' .. name, 'Something else turned it off; :edit turns it on again.')
    end
  end
end

local function check_others()
  local names = {}
  for _, client in ipairs(vim.lsp.get_clients({ method = 'textDocument/inlineCompletion' })) do
    if client.name ~= 'starling' then
      names[#names + 1] = client.name
    end
  end
  if vim.g.loaded_copilot then
    names[#names + 1] = 'copilot.vim'
  end
  if #names > 0 then
    health.warn('Others show ghost text too: ' .. table.concat(names, ', '), 'Turn one of them off.')
  else
    health.ok('Nobody else shows ghost text')
  end
end

local function check_tab()
  local map = vim.fn.maparg('<Tab>', 'i', false, true)
  if vim.tbl_isempty(map) then
    health.info('Tab is not mapped in insert mode; README has a mapping that accepts with it')
  else
    health.info('Tab in insert mode: ' .. (map.desc or map.rhs or 'a Lua function'))
  end
end

function M.check()
  health.start('Starling')
  check_neovim()
  check_command()
  local clients = vim.lsp.get_clients({ name = 'starling' })
  if #clients == 0 then
    health.warn('No language server runs', 'Open a file; if none runs then, see :StarlingLog.')
  end
  for _, client in ipairs(clients) do
    check_client(client)
    check_buffers(client)
  end
  check_others()
  check_tab()
end

return M
