if vim.g.loaded_starling then
  return
end
vim.g.loaded_starling = true

if vim.fn.has('nvim-0.12') == 0 then
  vim.notify_once('Starling needs Neovim 0.12 or later.', vim.log.levels.WARN)
  return
end

local group = vim.api.nvim_create_augroup('starling', {})

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  desc = 'Show what Starling suggests',
  callback = function(event)
    require('starling').on_attach(event.data.client_id, event.buf)
  end,
})

vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  desc = 'Forget what Starling suggested',
  callback = function(event)
    require('starling').on_detach(event.data.client_id, event.buf)
  end,
})

vim.api.nvim_create_autocmd({ 'BufEnter', 'CursorHold' }, {
  group = group,
  desc = 'Let Starling read ahead where the cursor rests',
  callback = function(event)
    require('starling').on_rest(event.buf)
  end,
})

vim.keymap.set('i', '<Plug>(starling-accept)', function()
  require('starling').accept()
end, { desc = 'Accept the suggestion' })

vim.keymap.set('i', '<Plug>(starling-accept-word)', function()
  require('starling').accept({ part = 'word' })
end, { desc = 'Accept a word of the suggestion' })

vim.keymap.set('i', '<Plug>(starling-accept-line)', function()
  require('starling').accept({ part = 'line' })
end, { desc = 'Accept a line of the suggestion' })

vim.api.nvim_create_user_command('StarlingStatus', function()
  vim.notify(require('starling.status').report())
end, { desc = 'Show what Starling is doing' })

if vim.g.starling_auto_enable == false then
  return
end

-- Not before a setup() that a plugin manager calls right after loading this file; and not while Neovim starts, where the
-- first file would be missed if it is open already.
local enable = vim.schedule_wrap(function()
  vim.lsp.enable('starling')
end)
if vim.v.vim_did_enter == 1 then
  enable()
else
  vim.api.nvim_create_autocmd('VimEnter', { group = group, once = true, callback = enable })
end
